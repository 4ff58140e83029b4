"""Makes programs once and keeps them: from Go modules and from Debian's archive."""
