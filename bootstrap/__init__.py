"""The composition root: what each line of the pipeline page is made of (roles.py), and what a process runs."""
