"""The record of a conditioning (what each token is), embedding files, a conditioning in words."""
