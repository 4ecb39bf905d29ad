"""What a job is: its record, its state machine, its storage and its queue. No torch, no web."""
