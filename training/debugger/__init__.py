"""What a watched training records: tensors through smdebug's hook, phases, and the state of the machine."""
