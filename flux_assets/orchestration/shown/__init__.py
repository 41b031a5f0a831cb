"""What Dagster's UI shows of a table besides its name: metadata and pictures."""
