"""What was measured, for people and other programs to look at: pages, receipts, text files."""
