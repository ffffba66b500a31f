#!/usr/bin/env bash
# Fine-tunes the models that the server is shown and measured with, one an application, from the bundled mini:
#
#     bash benchmarks/serving_models.sh
#     nlptasks serve --model segmenter similarity mini opinions=runs/classifier ner=runs/ner \
#         reader=runs/demo/reader writer=runs/reviews
#
# The data is samples of data/ and questions made here: the models show what a card does, and know no more than that. A model
# that is there already is left as it is. PYTHON names the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
missing() { [ ! -e "$1/model.safetensors" ]; }

mkdir -p runs/demo
if missing runs/classifier; then
  "$python" -m nlptasks classification train --train data/classification_sample_train.jsonl \
    --valid data/classification_sample_valid.jsonl --checkpoint mini --epochs 10 --output runs/classifier
fi
if missing runs/ner; then
  "$python" -m nlptasks labeling train --train data/labeling_sample_train.jsonl --valid data/labeling_sample_valid.txt \
    --checkpoint mini --head crf --epochs 30 --output runs/ner
fi
if missing runs/demo/reader; then
  for part in "2000 train" "200 valid"; do
    read -r count split <<< "$part"
    "$python" data/make_reading_questions.py --count "$count" --seed 1 --split "$split" --output "runs/demo/$split.json.gz"
  done
  "$python" -m nlptasks reading train --train runs/demo/train.json.gz --valid runs/demo/valid.json.gz --method span \
    --checkpoint mini --epochs 1 --valid-limit 100 --batch-size 16 --learning-rate 3e-4 --warmup-share 0.1 --decay \
    --clip-norm 1 --dropout 0 --window-length 96 --width-multiple 32 --stride 48 --negative-ratio 0.35 \
    --question-length 32 --answer-length 16 --output runs/demo/reader
fi
if missing runs/reviews; then
  "$python" -m nlptasks conditional train --train data/reviews_sample.tsv --columns category,sentiment,text \
    --label-columns category sentiment --label-names sentiment:0=negative,1=positive --checkpoint mini --seq-length 48 \
    --epochs 8 --output runs/reviews
fi
