"""What users get wrong, systematically: every bad input ends with a result or one message."""
