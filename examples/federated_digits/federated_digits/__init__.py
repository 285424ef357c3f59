"""A Flower app: every client distils its digits, the server trains on what they send."""
