"""What is judged: the audits of a staged version, and of a table as readers see it."""
