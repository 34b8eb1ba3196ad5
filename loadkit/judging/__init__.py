"""What `loadkit.judging.judge` looks at, one noun each: the evidence by kind of measure, and the circumstances that may speak against it."""
