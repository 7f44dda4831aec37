"""What is tried against the book: kills, processes side by side, damaged files, odd values, full disks, signals.

`python -m tests.faults` tries all of it and stores the counts that book/faults.md shows; test_faults.py a part.
"""
