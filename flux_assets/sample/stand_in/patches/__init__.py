"""What is changed in fakesnow 0.12, a module for each change, with the place upstream.

conflicts.py and times.py correct wrong answers, columns.py, plans.py and schemas.py save time, results.py saves memory.
fakesnow is imported by the functions and never by the modules: that takes a second and a half.
"""
