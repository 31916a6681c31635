import { LiveProgress } from "./live-progress";

interface Props {
  params: Promise<{ huntId: string }>;
}

/** `/hunts/<huntId>` */
export default async function HuntPage({ params }: Props) {
  const { huntId } = await params;
  return (
    <main>
      <h1>Hunt</h1>
      <LiveProgress huntId={decodeURIComponent(huntId)} />
    </main>
  );
}
