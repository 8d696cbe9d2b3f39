-- Lasts as long as git says nothing of spec.suspend, or selfHeal is off.
obj.spec.suspend = true
return obj
