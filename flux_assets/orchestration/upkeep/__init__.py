"""What keeps Dagster's own storage from growing for ever: its runs, what their deletion leaves behind, and files."""
