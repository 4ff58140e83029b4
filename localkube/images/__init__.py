"""Images as containerd pulls them: trees of files, through a registry of our own."""
