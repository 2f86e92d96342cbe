"""What a flow would ask of AWS: the requests, what they make and cost, and the rights that they need."""
