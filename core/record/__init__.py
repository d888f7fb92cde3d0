"""What each token of a conditioning is; embedding files; a conditioning in words."""
