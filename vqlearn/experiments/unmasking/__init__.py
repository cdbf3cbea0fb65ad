"""What every unmasking rule samples, exactly in small worlds, and by count in a long one."""
