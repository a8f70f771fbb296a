"""Commands that make the embedded models anew, from the emoji world's pictures to the finished files."""
