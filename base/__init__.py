"""What every room stands on: errors, durable files, units, arguments, folders. It imports nothing of ours."""
