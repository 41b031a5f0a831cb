"""The command line `flux-assets`, and how it looks."""
