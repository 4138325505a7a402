"""What every room stands on: errors, durable files, text, numbers, units, folders. It imports nothing of ours."""
