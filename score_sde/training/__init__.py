"""Training: the loop, and the files from which it resumes."""
