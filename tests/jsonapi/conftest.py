"""How invented examples are run: without a time limit each, for the machine may be busy; failures replay."""

from hypothesis import settings

settings.register_profile("rollbook", deadline=None, print_blob=True)
settings.load_profile("rollbook")
