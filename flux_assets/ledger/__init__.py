"""What the project writes of itself in schema postgres_sync: ledger, leases, declarations, status."""
