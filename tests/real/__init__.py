"""What the tests run against: a real server, a real registry and files of true shape."""
