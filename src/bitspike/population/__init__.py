"""Floor 6: weights and hyperparameters evolve together (Population Based Training, Jaderberg et al. 2017).

A turn of a member: it looks at the others and, where it has fallen behind, copies a better one (`exploit`) and changes
the hyperparameters that came with it (`explore`); it learns until its next ready point, measures itself, and publishes
what it is (`turn`). Nobody is asked and nobody waits. `space` is what is searched, `member` what evolves, `store` where
it is published, `lineage` who came from whom; `local` takes the turns, in this process or in several.
"""
