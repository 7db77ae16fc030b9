"""Domains: one for each kind of field, behind one contract."""
