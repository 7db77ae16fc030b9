"""Where bytes lie: files written whole, locks, disks and object stores."""
