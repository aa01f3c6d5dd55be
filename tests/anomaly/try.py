import sys, time, logging, cProfile
logging.disable(50)
from .steps import *
from .loops import *
from . import wholefiles, spools
for mod in sys.argv[1:]:
    import importlib
    m = importlib.import_module("tests.anomaly."+mod)
    for n in m.__all__:
        k = getattr(m, n)
        t=time.time()
        print(fail_all(k, (BROKEN, GONE, TORN, FULL)), kill_all(k, (KILLED, KILLED_IN_A_WRITE)), time.time()-t)
