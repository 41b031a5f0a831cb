"""The command line `flux-assets`: a module for each kind of command, and how output looks on a terminal."""
