"""What is generated: a domain for each kind of field, behind one contract."""
