"""A folder for PYTHONPATH: every process that Python starts with it can be made to fail at one of its steps."""
