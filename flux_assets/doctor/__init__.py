"""The examination behind `flux-assets doctor`: every setting and permission, and what to do about each that fails.

Reading order: finding.py, examination.py (what is examined, in which order), then the module of each group.
Not here: mending anything, and showing the findings (console/terminal.py).
"""
