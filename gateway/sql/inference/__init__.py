"""What is known of values and of relations from the text and the policy: intervals, kinds, domains, keys, owners."""
