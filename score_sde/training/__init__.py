"""The training loop, and the files from which a training resumes."""
