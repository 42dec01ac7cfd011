"""Log records: what services print and what they send, stored once, searched together."""
