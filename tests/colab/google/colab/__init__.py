"""A stand-in for the package that Google Colab's notebooks have, as far as they are used here.

Source: https://github.com/googlecolab/colabtools, `google/colab/{errors,output/_util,userdata}.py`.
"""
