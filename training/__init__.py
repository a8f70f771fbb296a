"""What train_new.py is made of: its flags, the config that they lead to, and the learning of a word."""
