"""All layers of a release published together, and watched for news."""
