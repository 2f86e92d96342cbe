"""From a measured model to one that is let in, registered and deployed."""
