"""Storage of bytes: atomic files, locks, disks and object stores."""
