# Determined sources this file at every start of a container. Everything the experiments need beyond torch (filelock,
# requests, ruamel.yaml, tqdm) comes with determined itself, so there is nothing to install; never reinstall torch here.
# Put what your own code needs below: python3 -m pip install --quiet PACKAGE
