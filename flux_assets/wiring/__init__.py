"""Which database, release and account the settings mean; only this folder and the command line import sample/."""
