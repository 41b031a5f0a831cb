"""All layers of a release published together, rolled back together, and watched for news."""
