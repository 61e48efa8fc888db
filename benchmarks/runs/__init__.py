"""What is compared, and what is promised: a program each."""
