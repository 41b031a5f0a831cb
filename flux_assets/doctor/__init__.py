"""The examination of `flux-assets doctor`: tests every setting and permission, changes nothing, and names remedies."""
