"""What the command line shows, and how it looks. Not here: the commands (cli.py) but those about alerts."""
