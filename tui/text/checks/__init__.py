"""What `doctor` looks at, one subject a module. Every check really reads or tries the thing, and changes nothing."""
