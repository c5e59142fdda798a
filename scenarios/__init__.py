"""What is measured. Each file is a scenario; `catalog.py` lists them; `shop.py` builds what they run on.

append       how fast is an append, at a rate, for each durability?
replay       how fast is the past read back, and does it stay so as it grows?
lag          how far do consumers fall behind in a burst, and how fast do they catch up?
crm_outage   what happens when a consumer dies? is every event accounted for?
journey      how fast is the shop for its customers, when each thing they do is due by a schedule?
micro        what does each single step cost?
"""
